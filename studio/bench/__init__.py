"""Measuring: counts and clocks of the runtime against PEFT and diffusers, as rows with the lines they have to hold."""
