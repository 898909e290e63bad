"""What a served model answers: CSV and JSON as MLflow's server parses them, data frames, and a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import plugins
from pipeline.errors import UserError
from pipeline.formats.model import ModelCard, save_model
from pipeline.registry import serving
from pipeline.sampling import texts
from pipeline.sampling.samples import SampleSource, open_model
from pipeline.types import DataSpec, FieldSpec, like_x

pytestmark = [
    pytest.mark.slow,  # MLflow's import, and its example of every model that is built: about 30 s together
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

# In the order of their text, as earlier versions sorted them: "3" is the class at index 5.
CLASSES = ("03", "1", "10", "2", "NA", "3")
Answer = tuple[int, Any]
Ask = Callable[..., Answer]


def publish(folder: Path, family: str, spec: DataSpec, **config: Any) -> SampleSource:
    """An untrained model and, beside it, the MLflow model of it."""
    loaded = plugins.load("families", {"name": family, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = loaded.build(spec)
    card = ModelCard(family, loaded.config.model_dump(mode="json"), spec, (), 1, 1, 0, True, {}, {})
    save_model(folder / "model", card, {name: networks[name].state_dict() for name in loaded.averaged})
    source, card = open_model(folder / "model")
    serving.build(folder / "model", card, conditional=source.conditional, target=folder / "served")
    return source


def small(folder: Path, classes: tuple[str, ...]) -> SampleSource:
    keys: dict[str, Any] = {"latent": 8, "generator_widths": [16], "discriminator_units": [8]}
    return publish(folder, "gan", DataSpec("image", (1, 8, 8), classes), conditional=bool(classes), **keys)


def asking(folder: Path) -> Ask:
    """A function that answers a body as MLflow's server does: its status, and what it gives or says."""
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

    model = mlflow.pyfunc.load_model(str(folder / "served"))

    def ask(body: object, kind: str = "application/json") -> Answer:
        data = body if isinstance(body, str) else json.dumps(body)
        try:
            found = invocations(data, kind, model, model.metadata.get_input_schema())
        except MlflowException as error:
            return error.get_http_status_code(), error.message
        return found.status, np.array(json.loads(found.response)["predictions"])

    return ask


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSource, Ask]:
    folder = tmp_path_factory.mktemp("conditional")
    source = small(folder, CLASSES)
    return folder, source, asking(folder)


def drawn(source: SampleSource, indices: list[int], seed: int = 0) -> NDArray[Any]:
    return np.moveaxis(source.sample(len(indices), np.array(indices), seed=seed), 1, -1)


@pytest.mark.parametrize(
    ("body", "indices"),
    [
        ("label\n3\n", [5]),
        ("label\n03\n1\n", [0, 1]),
        ("label\n3.0\n", [5]),
        (",label\n0,3\n1,10\n", [5, 2]),
        ("label_index\n3\n5\n", [3, 5]),
        ("label,label_index\n,3\n", [3]),
        ({"dataframe_split": {"columns": ["label"], "data": [["3"], ["NA"]]}}, [5, 4]),
        ({"dataframe_split": {"columns": ["label"], "data": [[3], [1]]}}, [5, 1]),
        ({"dataframe_records": [{"label": "3"}, {"label": "03"}]}, [5, 0]),
        ({"dataframe_records": [{"label": 3}, {"label": 2.0}]}, [5, 3]),
        ({"dataframe_records": [{"label_index": 3}]}, [3]),
        ({"inputs": {"label": ["3", "10"]}}, [5, 2]),
        ({"inputs": {"label": [3, 10]}}, [5, 2]),
        ({"inputs": {"label": "3"}}, [5]),
        ({"inputs": [{"label": "3"}, {"label": 2}]}, [5, 3]),
        ({"inputs": {"label_index": [3, 0]}}, [3, 0]),
        ({"instances": [{"label": "3"}, {"label": 2}]}, [5, 3]),
        ({"instances": [{"label_index": 3}]}, [3]),
    ],
)
def test_a_label_is_a_name_in_every_form_of_a_request(
    body: object, indices: list[int], conditional: tuple[Path, SampleSource, Ask]
) -> None:
    _, source, ask = conditional
    status, found = ask(body, "text/csv" if isinstance(body, str) else "application/json")
    assert status == 200, found
    assert np.array_equal(found, drawn(source, indices))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "label\n4\n",
            "'4' is no class; the classes are 03, 1, 10, 2, NA, 3; for the class at index 4, 'NA', write 4 in",
        ),
        ("label\n7\n", "'7' is no class; the classes are 03, 1, 10, 2, NA, 3"),
        ("label\nNA\n", "CSV reads words such as NA as missing: send them as JSON"),
        ("lable\n3\n", "give the column `label`, a class's name a row (03, 1, 10, 2, NA, 3), or `label_index`"),
        ("label_index\n6\n", "label_index in row 0 is 6, which is no index of a class; the 6 classes are 0 … 5"),
        ({"inputs": ["3"]}, "give the column `label`"),
        ({"dataframe_records": [{"label": True}]}, "label in row 0: True is no class"),
        ({"dataframe_records": [{"label": "3", "label_index": 5}]}, "not both"),
        ({"dataframe_split": {"columns": ["n"], "data": [[4]]}}, "give the column `label`"),
        ({"inputs": {"label": ["3"]}, "params": {"sed": 7}}, "unknown params ['sed']; known: ['seed', 'truncation']"),
        ({"inputs": {"label": ["3"]}, "params": {"seed": 7, "x": 1}}, "unknown params ['x']; known"),
        ({"inputs": {"label": ["3"]}, "params": {"seed": "7"}}, "seed"),
    ],
)
def test_mistakes_are_answered_with_400_and_a_sentence(
    body: object, told: str, conditional: tuple[Path, SampleSource, Ask]
) -> None:
    status, said = conditional[2](body, "text/csv" if isinstance(body, str) else "application/json")
    assert status == 400
    assert told in said


def test_params_that_are_known_do_what_they_say(conditional: tuple[Path, SampleSource, Ask]) -> None:
    _, source, ask = conditional
    for params, seed in (({"seed": 7}, 7), ({"seed": None}, 0), ({}, 0)):
        status, found = ask({"inputs": {"label": ["3"]}, "params": params})
        assert status == 200
        assert np.array_equal(found, drawn(source, [5], seed))


def test_frames_hold_names_or_indices_by_their_column(conditional: tuple[Path, SampleSource, Ask]) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.exceptions import MlflowException

    folder, source, _ = conditional
    model = mlflow.pyfunc.load_model(str(folder / "served"))
    mixed = pd.DataFrame({"label": pd.Series([3, "10"], dtype=object)})
    for rows in (pd.DataFrame({"label": ["3", "10"]}), mixed, {"label": ["3", "10"]}):
        assert np.array_equal(model.predict(rows), drawn(source, [5, 2]))
    assert np.array_equal(model.predict(pd.DataFrame({"label_index": [3, 1]})), drawn(source, [3, 1]))
    # MLflow itself refuses numbers where the signature says text; its sentence shows the signature.
    with pytest.raises(MlflowException, match=r"'label': string \(optional\), 'label_index': long.*column label"):
        model.predict(pd.DataFrame({"label": [3, 10]}))
    with pytest.raises(MlflowException, match=r"unknown params \['sed'\]"):
        model.predict(pd.DataFrame({"label": ["3"]}), params={"sed": 7})


def test_a_wrapper_s_own_params_are_not_ours(conditional: tuple[Path, SampleSource, Ask], tmp_path: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import infer_signature

    folder, source, _ = conditional
    inner = mlflow.pyfunc.load_model(str(folder / "served")).unwrap_python_model()
    code = tmp_path / "wrapper.py"
    code.write_text(
        "from mlflow.models import set_model\nfrom mlflow.pyfunc import PythonModel\n"
        "class Wrapper(PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return self.inner.predict(None, model_input, {'seed': 7})\n"
        "set_model(Wrapper())\n"
    )
    frame = pd.DataFrame({"label": ["3"]})
    signature = infer_signature(frame, params={"other": 1})
    mlflow.pyfunc.save_model(tmp_path / "outer", python_model=str(code), signature=signature, pip_requirements=[])
    outer = mlflow.pyfunc.load_model(str(tmp_path / "outer"))
    outer.unwrap_python_model().inner = inner
    assert np.array_equal(outer.predict(frame, params={"other": 2, "third": 3}), drawn(source, [5], 7))


def test_a_model_without_classes_takes_n_or_rows(tmp_path: Path) -> None:
    source = small(tmp_path, ())
    ask = asking(tmp_path)
    wanted = np.moveaxis(source.sample(5), 1, -1)
    for body, n in (
        ("n\n4\n", 4),
        ("n\n2\n3\n", 5),
        ({"inputs": {"n": [4]}}, 4),
        ({"dataframe_split": {"columns": ["n"], "data": [[4]]}}, 4),
        ({"dataframe_records": [{"label": None}, {"label": None}]}, 2),
    ):
        status, found = ask(body, "text/csv" if isinstance(body, str) else "application/json")
        assert status == 200, found
        assert np.array_equal(found, wanted[:n])
    for body, told in (
        ("label\n1\n", "unconditional: leave `label` out"),
        ("n\n0\n", "give the column `n`"),
        ("m\n3\n", "give the column `n`"),
        ("n\n5\n-1\n", "n must be 0 or more, not -1"),
    ):
        status, said = ask(body, "text/csv")
        assert (status, told in said) == (400, True), said


def test_a_model_that_translates_takes_images_as_json(tmp_path: Path) -> None:
    spec = DataSpec("image", (3, 16, 16), (), fields=like_x({"pair": (3, 16, 16)}))
    publish(tmp_path, "pix2pix", spec, preset="smoke")
    ask = asking(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).tolist()
    status, first = ask({"dataframe_records": [{"input": image}]})
    assert (status, first.shape) == (200, (1, 16, 16, 3))
    for body in ({"inputs": {"input": [image]}}, {"instances": [{"input": image}]}, f'input\n"{json.dumps(image)}"\n'):
        status, found = ask(body, "text/csv" if isinstance(body, str) else "application/json")
        assert status == 200, found
        assert np.array_equal(found, first)
    for body in ("input\na.png\n", "input\n3\n", {"dataframe_records": [{"input": image[:3]}]}):
        status, said = ask(body, "text/csv" if isinstance(body, str) else "application/json")
        assert status == 400
        assert "give the column `input`, images of 16×16×3 (channels last) from 0 to 255" in said


class Recorder:
    """Stands for MLflow's model: keeps the frames it is given."""

    def __init__(self) -> None:
        self.frames: list[dict[str, list[Any]]] = []

    def predict(self, frame: Any, params: dict[str, Any]) -> None:
        self.frames.append(frame.to_dict("list"))


def test_a_model_that_draws_from_words_takes_a_column_of_sentences(tmp_path: Path) -> None:
    field = FieldSpec("text", "text", (2, 30), "uint8", False)
    source = publish(tmp_path, "text_to_image", DataSpec("image", (3, 16, 16), fields=(field,)), preset="smoke")
    said = ["a red bird", "a blue bird"]
    drawn_here = np.moveaxis(texts.drawing(source, said).sample(2, seed=5), 1, -1)
    ask = asking(tmp_path)
    seed = {"params": {"seed": 5}}
    for body in (
        {"inputs": {"text": said}, **seed},
        {"dataframe_records": [{"text": each} for each in said], **seed},
        {"dataframe_split": {"columns": ["text"], "data": [[each] for each in said]}, **seed},
    ):
        status, found = ask(body)
        assert status == 200, found
        assert np.array_equal(found, drawn_here)
    assert ask("text\na red bird\n", "text/csv")[0] == 200
    for body, told in (
        ({"inputs": {"text": []}}, "nothing is asked for"),
        ({"inputs": {"text": ["a bird", ""]}}, "number 1, '', holds no word"),
        ({"inputs": {"text": ["x" * 99]}}, "99 bytes, and this model reads 30"),
        ({"dataframe_records": [{"n": 2}]}, "text"),
    ):
        status, answer = ask(body)
        assert (status, told in answer) == (400, True), answer
    found = serving.load(str(tmp_path / "served"))
    assert np.array_equal(found.sample(2, None, 5, 1.0, said), drawn_here)
    with pytest.raises(UserError, match="--text"):
        found.sample(2, None, 5, 1.0)
    plain = small(tmp_path / "plain", ())
    assert not source.spec.classes
    with pytest.raises(UserError, match="reads no text"):
        texts.drawing(plain, said)


def test_models_of_the_first_form_are_still_asked_by_index_in_their_label(
    conditional: tuple[Path, SampleSource, Ask],
) -> None:
    from pipeline.registry.served_model import FORMAT_VERSION

    recorder: Any = Recorder()
    for version in (1, FORMAT_VERSION):
        serving.Served(recorder, ("1", "10", "2"), version=version).sample(2, [2, 0], 0, 1.0)
    serving.Served(recorder, ()).sample(2, None, 0, 1.0)
    assert recorder.frames == [{"label": [2, 0]}, {"label_index": [2, 0]}, {"n": [2]}]
    served = serving.load(str(conditional[0] / "served"))
    assert (served.version, served.classes) == (2, CLASSES)
    assert np.array_equal(served.sample(2, [5, 0], 3, 1.0), drawn(conditional[1], [5, 0], 3))


def test_a_real_server(conditional: tuple[Path, SampleSource, Ask], tmp_path: Path) -> None:
    folder, source, _ = conditional
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(folder / "served"),
        "--env-manager",
        "local",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while _post(port, None)[0] != 200:
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.5)
        for body, kind, indices in (
            ("label\n3\n", "text/csv", [5]),
            ("label_index\n3\n", "text/csv", [3]),
            ('{"inputs": {"label": ["3"]}}', "application/json", [5]),
        ):
            status, answer = _post(port, body, kind)
            assert status == 200, answer
            assert np.array_equal(json.loads(answer)["predictions"], drawn(source, indices))
        status, answer = _post(port, '{"inputs": {"label": ["3"]}, "params": {"sed": 7}}')
        assert (status, "unknown params ['sed']" in answer) == (400, True)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(20)


def _post(port: int, body: str | None, kind: str = "application/json") -> tuple[int, str]:
    """Status and text of an answer; a body of None asks whether the server is up, 0 = it is not."""
    url = f"http://127.0.0.1:{port}/{'ping' if body is None else 'invocations'}"
    request = urllib.request.Request(url, None if body is None else body.encode(), {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""
