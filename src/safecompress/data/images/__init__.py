"""Images: image files and the layouts of image data sets, decoded with care."""
