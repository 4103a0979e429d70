"""What `results.plot` is made of: the data of each kind of picture, and how it is drawn."""
