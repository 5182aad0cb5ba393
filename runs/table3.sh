#!/usr/bin/env bash
# Table 3: the networks whose path length and separability the paper compares.
#
#                                  path length        separability     (FFHQ; b in Z, the others in W)
#                                 full      end
#     b   traditional             412.0    415.3            10.78
#     d   style-based             446.2    376.6             3.61
#     e   + noise inputs          200.5    160.6             3.54
#         + mixing 50 %           231.5    182.1             3.51
#     f   + mixing 90 %           234.0    195.9             3.79
source "$(dirname "$0")/common.sh"
for preset in config-b config-d config-e mixing-50 config-f; do train "$preset"; done
wait
# separability takes attribute classifiers of the data: CLASSIFIERS, a file or a folder of the official ones
ls=${CLASSIFIERS:+,ls}
measure config-b-0 "ppl_zfull,ppl_zend$ls" ${CLASSIFIERS:+--classifiers "$CLASSIFIERS"}
for run in config-d-0 config-e-0 mixing-50-0 config-f-0; do
    measure "$run" "ppl_wfull,ppl_wend$ls" ${CLASSIFIERS:+--classifiers "$CLASSIFIERS"}
done
table config-b-0 config-d-0 config-e-0 mixing-50-0 config-f-0
