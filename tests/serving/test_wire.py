"""Our messages lie in a descriptor pool of their own, so that nobody else's clash with them."""

import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from serving.wire import inference_pb2, ordinal_pb2
from serving.wire.pool import POOL

PROTOS = Path(__file__).parents[2] / "protos"
SERVICES = {
    "ordinal.v1.OrdinalService",
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
}

OURS = """
with Client(sys.argv[1]) as ours:
    print("ours", ours.predict(rows, "wine").probabilities.tolist())
"""
TRITON = """
made = triton.InferInput("numeric", [1, 4], "FP32")
made.set_data_from_numpy(rows)
with triton.InferenceServerClient(sys.argv[1]) as theirs:
    print("theirs", theirs.infer("wine", [made]).as_numpy("probabilities").tolist())
"""
BEGIN = "import sys, grpc, numpy as np\nrows = np.ones((1, 4), np.float32)\n"
IMPORT_OURS = "from serving.client import Client\n"
IMPORT_TRITON = "import tritonclient.grpc as triton\n"


def run(program, *arguments):
    """What a program prints, in a process of its own: after each first word, the rest of the line."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "program",
    [
        BEGIN + IMPORT_TRITON + IMPORT_OURS + OURS + TRITON,
        BEGIN + IMPORT_OURS + IMPORT_TRITON + TRITON + OURS,
        BEGIN + IMPORT_OURS + "import serving.wire.inference_pb2\n" + OURS + IMPORT_TRITON + TRITON,
    ],
    ids=["theirs first", "ours first", "theirs after ours has called"],
)
def test_tritonclient_works_beside_our_client(running, program):
    """In one process, imported in either order, both get the same answer."""
    said = run(program, running.address)
    assert said["ours"] == said["theirs"]


def test_stubs_that_a_user_generates_work_beside_our_client(running, tmp_path):
    """Those made of our own protos, with the same names, in the default pool."""
    protos = [str(path.relative_to(PROTOS)) for path in sorted(PROTOS.rglob("*.proto"))]
    assert len(protos) == 2
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python")]
    subprocess.run([*compiler, *outputs, *protos], check=True)
    theirs = """
sys.path.insert(0, sys.argv[2])
from ordinal.v1 import ordinal_pb2, ordinal_pb2_grpc
from inference.v2 import inference_pb2, inference_pb2_grpc
request = ordinal_pb2.PredictRequest(model="wine")
request.tensor.dtype, request.tensor.data = ordinal_pb2.FLOAT32, rows.tobytes()
request.tensor.shape.extend(rows.shape)
with grpc.insecure_channel(sys.argv[1]) as channel:
    reply = ordinal_pb2_grpc.OrdinalServiceStub(channel).Predict(request)
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    print("live", stub.ServerLive(inference_pb2.ServerLiveRequest()).live)
print("theirs", np.array([reply.probabilities], np.float32).tolist())
"""
    said = run(BEGIN + IMPORT_OURS + OURS + theirs, running.address, str(tmp_path))
    assert said["ours"] == said["theirs"]
    assert said["live"] == "True"


def test_the_default_pool_has_nothing_of_ours():
    """After all of client and server is imported, it knows neither package."""
    program = """
import serving.client, serving.server, serving.inference.protocol
from serving.reflection import reflection_pool
from google.protobuf import descriptor_pool
reflection_pool()
for name in ("ordinal.v1.PredictRequest", "ordinal.v1.DataType", "inference.ModelInferRequest"):
    try:
        descriptor_pool.Default().FindFileContainingSymbol(name)
        print(name, "is there")
    except KeyError:
        print(name, "is not there")
"""
    assert set(run(program).values()) == {"is not there"}


def test_modules_have_what_generated_ones_have():
    """Messages, nested ones, enums, their values and the descriptor, each saying where it is found."""
    assert ordinal_pb2.FLOAT32 == ordinal_pb2.DataType.Value("FLOAT32") == 1
    assert ordinal_pb2.Output.Name(ordinal_pb2.DECISION) == "DECISION"
    assert ordinal_pb2.Tensor.DATA_FIELD_NUMBER == 3
    for module, package in ((ordinal_pb2, "ordinal.v1"), (inference_pb2, "inference")):
        file = module.DESCRIPTOR
        assert file.package == package
        assert file.pool is POOL
        for name, message in file.message_types_by_name.items():
            kind = getattr(module, name)
            assert (kind.DESCRIPTOR, kind.__module__, kind.__qualname__) == (message, module.__name__, name)
            assert kind.FromString(kind().SerializeToString()) == kind()
    nested = inference_pb2.ModelInferRequest.InferInputTensor
    assert repr(nested) == "<class 'serving.wire.inference_pb2.ModelInferRequest.InferInputTensor'>"
    assert type(inference_pb2.ModelInferRequest().inputs.add()) is nested


def test_what_lies_there_is_what_the_protos_say(tmp_path):
    """The descriptors are those that the compiler makes of protos/ now."""
    made = tmp_path / "descriptors.binpb"
    mapped = [f"-Iserving/wire={folder}" for folder in (PROTOS / "ordinal/v1", PROTOS / "inference/v2")]
    files = [str(path) for path in sorted(PROTOS.rglob("*.proto"), reverse=True)]
    compiler = [sys.executable, "-m", "grpc_tools.protoc", *mapped, f"--descriptor_set_out={made}"]
    subprocess.run([*compiler, *files], check=True)
    assert made.read_bytes() == (PROTOS.parent / "serving/wire/descriptors.binpb").read_bytes()


def test_reflection_describes_every_service(running):
    """A client that has no .proto lists them, and gets all that their methods take and give."""
    with grpc.insecure_channel(running.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == SERVICES
        pool = DescriptorPool(database)
        methods = {name: pool.FindServiceByName(name).methods_by_name for name in SERVICES}
        infer = methods["inference.GRPCInferenceService"]["ModelInfer"]
        assert "raw_input_contents" in infer.input_type.fields_by_name
        for module in (ordinal_pb2, inference_pb2, health_pb2, reflection_pb2):
            sent, known = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
            pool.FindFileByName(module.DESCRIPTOR.name).CopyToProto(sent)
            module.DESCRIPTOR.CopyToProto(known)
            assert sent == known
