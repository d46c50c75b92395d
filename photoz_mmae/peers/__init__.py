"""Networks to compare with, each as its publication trains it, and the comparison itself."""
