"""lpa_core: trainable visual attention after "Learn to Pay Attention" (Jetley et al., ICLR 2018)."""

__version__ = "0.1.0"
