"""The forecast: how adapters will get along, told from their factors before anything is drawn; one idea a file.

`examine.examine` makes the report, `report.Report` holds it, `findings` puts it into words, `remedies` says what helps.
"""
