"""Data sets before they are read: downloaded, encoded as HHA, or prepared for TFDS."""
