#!/usr/bin/env bash
# Table 1: FID of each step from the Progressive GAN to StyleGAN, three seeds for the baseline and the last.
#
#            CelebA-HQ    FFHQ      (FID at 50,000 images, the lowest met in training)
#     a           7.79    8.04
#     b           6.11    5.25
#     c           5.34    4.85
#     d           5.07    4.88
#     e           5.06    4.42
#     f           5.17    4.40
#
# CelebA-HQ is trained with WGAN-GP throughout and a rate of at most 0.002:
#     EXTRA="--loss.kind wgan-gp --schedule.learning-rate 4:0.001,128:0.0015,256:0.002" runs/table1.sh full STORE OUT
source "$(dirname "$0")/common.sh"
for preset in config-a config-b config-c config-d config-e config-f; do train "$preset" 0; done
for preset in config-b config-f; do train "$preset" 1; train "$preset" 2; done
table config-a-0 config-b-{0,1,2} config-c-0 config-d-0 config-e-0 config-f-{0,1,2}
