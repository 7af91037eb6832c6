"""Pictures being made: a store on disk that outlives a page reload, and the worker that draws one after the other."""
