"""Videos as logs of pictures: frames some time apart, before and after, without what was done in between."""
