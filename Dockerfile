# CPU:   docker build --tag stylegan .
# CUDA:  docker build --tag stylegan:cuda --build-arg KIND=cuda .
# test:  docker run --rm --entrypoint sh stylegan /opt/smoke-test
# use:   docker run --rm --volume "$PWD:/work" stylegan generate --seeds 0-7 --out pictures      (CUDA: with --gpus all)
ARG PYTHON=3.12
FROM python:${PYTHON}-slim
ARG KIND=cpu
ARG EXTRAS=figures,video,metrics

WORKDIR /opt/stylegan
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
# PyTorch for Linux brings its CUDA libraries along, so that both kinds install alike
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

# four portraits, one of them again from what its file says, and whether CUDA is there where it should be
RUN printf '%s\n' \
        'set -e' \
        'cd "$(mktemp -d)"' \
        'stylegan generate --seeds 0-3 --out a --device cpu' \
        'stylegan generate --like a/seed0003.png --out b --device cpu' \
        'cmp a/seed0003.png b/seed0003.png' \
        "if [ $KIND = cuda ]; then stylegan generate --seeds 0-3 --out c --device cuda; fi" \
        'echo works' > /opt/smoke-test

RUN useradd --create-home user && mkdir /work && chown user /work
USER user
WORKDIR /work
ENTRYPOINT ["stylegan"]
CMD ["--help"]
