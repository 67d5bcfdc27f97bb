#include "toolkit/checkpoint/numpy_pickle.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>

#include "linex/error.hpp"
#include "toolkit/base/npy.hpp"

namespace linex {
namespace {

using Kind = PickleValue::Kind;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// "<i8" of numpy.dtype("i8"), whose state is (version, byte order, ...); "" for anything else.
std::string descr_of(const PickleValue& dtype) {
  if (!dtype.is(Kind::opaque) || !ends_with(dtype.text, "numpy.dtype") || dtype.items.empty())
    return "";
  std::string order = "|";
  if (dtype.state && dtype.state->items.size() > 1) order = dtype.state->items[1]->text;
  const std::string& kind = dtype.items[0]->text;
  const bool plain =
      !kind.empty() && kind.size() < 8 &&
      std::all_of(kind.begin(), kind.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
  if (!plain || order.size() != 1 || std::string("<>|=").find(order) == std::string::npos)
    return "";
  return (order == "=" ? "<" : order) + kind;
}

/// What an array is made of; pointers into the pickle.
struct Parts {
  const PickleValue* dtype = nullptr;
  const PickleValue* shape = nullptr;  // null: a scalar
  const PickleValue* bytes = nullptr;
  bool fortran = false;
};

/// All null where `value` is none.
Parts parts_of(const PickleValue& value) {
  if (!value.is(Kind::opaque)) return {};
  const auto& items = value.items;
  if (ends_with(value.text, "multiarray._reconstruct") && value.state &&
      value.state->items.size() == 5) {
    const auto& state = value.state->items;  // (version, shape, dtype, is_fortran, bytes)
    return {state[2], state[1], state[4], state[3]->integer != 0};
  }
  if (ends_with(value.text, "numeric._frombuffer") && items.size() == 4)
    return {items[1], items[2], items[0], items[3]->text == "F"};
  if (ends_with(value.text, "multiarray.scalar") && items.size() == 2)
    return {items[0], nullptr, items[1], false};
  return {};
}

}  // namespace

torch::Tensor numpy_array(const PickleValue& value, const std::string& source) {
  const Parts parts = parts_of(value);
  if (!parts.dtype) return {};
  const std::string descr = descr_of(*parts.dtype);
  const bool is_data = parts.bytes->is(Kind::bytes) || parts.bytes->is(Kind::text);
  if (descr.empty() || !is_data)
    throw input_error(source + ": a NumPy array in it is of a kind that is not read");
  std::string shape;
  if (parts.shape)
    for (const PickleValue* length : parts.shape->items)
      shape += std::to_string(length->is(Kind::integer) ? length->integer : -1) + ", ";
  // The rest is what a .npy file holds.
  std::string header = "{'descr': '" + descr +
                       "', 'fortran_order': " + (parts.fortran ? "True" : "False") +
                       ", 'shape': (" + shape + "), }";
  header.resize((10 + header.size() + 64) / 64 * 64 - 10, ' ');
  const auto file = std::make_shared<std::string>("\x93NUMPY\x01");
  *file += '\0';
  *file += static_cast<char>(header.size() & 255);
  *file += static_cast<char>(header.size() >> 8);
  *file += header;
  *file += parts.bytes->text;
  const torch::Tensor array =
      npy_over_bytes(file, reinterpret_cast<unsigned char*>(file->data()), file->size(), source);
  const auto element = static_cast<std::size_t>(std::strtoul(descr.c_str() + 2, nullptr, 10));
  if (static_cast<std::size_t>(array.numel()) * element != parts.bytes->text.size())
    throw input_error(source + ": a NumPy array in it has more bytes than its shape says");
  return array;
}

}  // namespace linex
