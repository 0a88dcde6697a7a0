"""What held a training back, finding by finding, and what to do next."""
