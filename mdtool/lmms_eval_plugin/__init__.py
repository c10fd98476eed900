"""The plug-in for lmms-eval: its entry point is `manifest`, and its model stands in `model`, which needs lmms-eval."""
