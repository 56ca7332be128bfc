"""Whether a teacher is right: what it makes of real images, by which the usual mistakes are found and named."""
