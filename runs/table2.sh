#!/usr/bin/env bash
# Table 2: mixing regularisation for 0, 50, 90 and 100 % of the images, tested with one to four latents to an image.
#
#     latents in an image     1       2       3       4      (FID on FFHQ)
#     e      0 %           4.42    8.22   12.88   17.41
#           50 %           4.41    6.10    8.71   11.61
#     f     90 %           4.40    5.11    6.88    9.03
#          100 %           4.83    5.17    6.63    8.40
source "$(dirname "$0")/common.sh"
for preset in config-e mixing-50 config-f mixing-100; do train "$preset"; done
wait
for run in config-e-0 mixing-50-0 config-f-0 mixing-100-0; do
    for latents in 2 3 4; do
        measure "$run" "$([ "$scale" = full ] && echo fid50k || echo kid50k)" --mix "$latents"
    done
done
table config-e-0 mixing-50-0 config-f-0 mixing-100-0
