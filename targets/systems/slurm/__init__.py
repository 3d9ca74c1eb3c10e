"""The system of type ``slurm``: steps run as jobs of a cluster's Slurm."""
