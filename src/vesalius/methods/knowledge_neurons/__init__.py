"""Find the feed-forward neurons that hold a fact; turn them down and up."""
