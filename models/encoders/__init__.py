"""Small networks of one stream each, for vectors, series, sound, images and clips."""
