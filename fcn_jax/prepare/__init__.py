"""Work on data sets before they are read: download, encode depth as HHA, or prepare for TFDS."""
