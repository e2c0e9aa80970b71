"""From a table or images with ordered labels to a registered artifact."""
