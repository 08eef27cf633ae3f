"""Search by arms: whole configurations are trained, attacked and compared, and one of them ships."""
