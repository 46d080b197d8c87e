"""Predicting and evaluating with a trained net."""
