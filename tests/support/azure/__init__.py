"""Azure Machine Learning as its SDK sees it, where only the control plane is a stand-in."""
