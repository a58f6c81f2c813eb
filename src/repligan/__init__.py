"""Re-runs published GAN experiments and says, with numbers, which of their claims hold."""
