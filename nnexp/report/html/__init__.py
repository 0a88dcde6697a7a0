"""One page that shows a run, a comparison, a sweep: HTML and SVG, without a library."""
