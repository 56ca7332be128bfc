"""A student as a folder that diffusers loads: its weights as a graph, and the two files of code that go with it."""
