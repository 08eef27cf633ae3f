"""Pictures of a report as SVG: plain marks with classes, so that the page's colours, light, dark and print, hold."""
