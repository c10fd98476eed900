"""The tasks of `mdtool eval`: for each data set its fields, prompts, clean-up of answers and metric."""
