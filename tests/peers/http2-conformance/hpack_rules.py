"""Blocks that cannot be decompressed (RFC 7541). Each is "a connection error of type
COMPRESSION_ERROR" (RFC 9113 4.3)."""

from case import response, section
from expect import dies
from http2_wire import TABLE_SIZE, headers, settings

# :method GET, :scheme http, :path, :authority, without the dynamic table.
PSEUDO = b"\x82\x86\x04\x0b/status/200\x01\x04test"
BROKEN = dies("COMPRESSION_ERROR")


case = section("hpack/2.3.3", "RFC 7541 2.3.3")
case("an index above both tables", BROKEN, headers(1, PSEUDO + b"\xbe"))
case("a name by an index above both tables", BROKEN, headers(1, PSEUDO + b"\x7e\x01y"))
case("a name by such an index, without indexing", BROKEN, headers(1, PSEUDO + b"\x0f\x2f\x01y"))
case("an entry that was evicted", BROKEN, headers(1, PSEUDO + b"\x40\x01x\x01y"), response(1),
     headers(3, b"\x20" + PSEUDO + b"\xbe"))

case = section("hpack/4.2", "RFC 7541 4.2")
case("a size update at the end of a block", BROKEN, headers(1, PSEUDO + b"\x20"))
case("a size update in the middle", BROKEN, headers(1, PSEUDO[:2] + b"\x3f\x01" + PSEUDO[2:]))

case = section("hpack/5.1", "RFC 7541 5.1")
case("an integer that is too large", BROKEN, headers(1, PSEUDO + b"\xff" + b"\xff" * 10 + b"\x01"))
case("an integer that is cut off", BROKEN, headers(1, PSEUDO + b"\xff"))

case = section("hpack/5.2", "RFC 7541 5.2")
case("padding of more than 7 bits", BROKEN, headers(1, PSEUDO + b"\x00\x01x\x84\x1c\x64\xff\xff"))
case("padding that is not of ones", BROKEN, headers(1, PSEUDO + b"\x00\x01x\x81\x18"))
case("EOS in a string", BROKEN, headers(1, PSEUDO + b"\x00\x01x\x85\x1f\xff\xff\xff\xff"))
case("a string longer than the block", BROKEN, headers(1, PSEUDO + b"\x00\x01x\x10y"))
case("a length longer than the block, Huffman", BROKEN, headers(1, PSEUDO + b"\x00\x01x\x90y"))

case = section("hpack/6.1", "RFC 7541 6.1")
case("index 0", BROKEN, headers(1, PSEUDO + b"\x80"))

case = section("hpack/6.2", "RFC 7541 6.2")
case("a name without its value", BROKEN, headers(1, PSEUDO + b"\x40\x01x"))
case("a block that ends within a name", BROKEN, headers(1, PSEUDO + b"\x40\x05x"))

case = section("hpack/6.3", "RFC 7541 6.3")
case("a size update above our limit", BROKEN, headers(1, b"\x3f\xe2\x1f" + PSEUDO))
case("a size update far above our limit", BROKEN,
     headers(1, b"\x3f\xff\xff\xff\xff\x07" + PSEUDO))
