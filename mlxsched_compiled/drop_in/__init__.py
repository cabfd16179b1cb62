"""What is put in the place of MLX's and mlx-lm's own."""
