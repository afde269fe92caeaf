"""What prints the figures that README and docs quote; nothing here is installed with vsal."""
