"""One finder per kind of group: each takes images and returns units and images left out."""
