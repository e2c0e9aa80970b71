"""Messages of protos/inference/v2/inference.proto; inference_pb2.pyi lists them."""

from serving.wire.pool import contents

globals().update(contents("serving/wire/inference.proto", __name__))
