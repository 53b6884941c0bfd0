"""MNIST and spoken digits: their files, their pairs, and a stand-in for both."""
