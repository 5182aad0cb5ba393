#!/usr/bin/env bash
# Table 4: the depth of the mapping network.
#
#                                FID     path length       separability     (FFHQ)
#                                       full      end
#     b   traditional 0, Z      5.25    412.0    415.3            10.78
#         traditional 8, Z      4.87    896.2    902.0           170.29
#         traditional 8, W      4.87    324.5    212.2             6.52
#         style-based 0, Z      5.06    283.5    285.5             9.88
#         style-based 1, W      4.60    219.9    209.4             6.81
#         style-based 2, W      4.43    217.8    199.9             6.25
#     f   style-based 8, W      4.40    234.0    195.9             3.79
source "$(dirname "$0")/common.sh"
for preset in config-b traditional-8 mapping-0 mapping-1 mapping-2 config-f; do train "$preset"; done
wait
# separability takes attribute classifiers of the data: CLASSIFIERS, a file or a folder of the official ones
ls=${CLASSIFIERS:+,ls}
for run in config-b-0 traditional-8-0 mapping-0-0; do
    measure "$run" "ppl_zfull,ppl_zend$ls" ${CLASSIFIERS:+--classifiers "$CLASSIFIERS"}
done
for run in traditional-8-0 mapping-1-0 mapping-2-0 config-f-0; do
    measure "$run" "ppl_wfull,ppl_wend$ls" ${CLASSIFIERS:+--classifiers "$CLASSIFIERS"}
done
table config-b-0 traditional-8-0 mapping-0-0 mapping-1-0 mapping-2-0 config-f-0
