"""Prediction with a trained net: labels of arrays and files, and confusion matrices."""
