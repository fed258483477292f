"""A language model behind an HTTP endpoint as the judge of predictions that lie in a file; no training asks it."""
