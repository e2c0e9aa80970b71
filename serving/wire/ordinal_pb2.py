"""Messages of protos/ordinal/v1/ordinal.proto; ordinal_pb2.pyi lists them."""

from serving.wire.pool import contents

globals().update(contents("serving/wire/ordinal.proto", __name__))
