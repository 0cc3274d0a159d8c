"""What every training needs beside its GAN: command line, settings, checkpoints, EMA, several devices."""
