"""Where transitions come from: data modules, the log format, splits and collectors."""
