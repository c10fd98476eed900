"""Ground truth of clips: true boxes, frame by frame, from the formats that have them."""
