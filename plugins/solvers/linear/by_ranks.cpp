#include "by_ranks.hpp"

#include "toolkit/base/byte_stream.hpp"
#include "toolkit/base/share.hpp"
#include "toolkit/explanations/explanation_bytes.hpp"

namespace linex {

namespace {

void put(ByteWriter& bytes, const Selection& selection) {
  bytes.put(selection.terms);
  bytes.put(selection.weight);
  bytes.put(selection.val_correlation);
  bytes.put(static_cast<std::uint64_t>(selection.lengths.size()));
  for (const LengthFound& length : selection.lengths) {
    bytes.put(length.terms);
    bytes.put(length.train);
    bytes.put(length.val);
    bytes.put(length.bound);
    bytes.put(length.certified);
    bytes.put(length.by_swap);
  }
}

void take(ByteReader& bytes, Selection& selection) {
  bytes.take(selection.terms);
  bytes.take(selection.weight);
  bytes.take(selection.val_correlation);
  selection.lengths.resize(bytes.count(1));
  for (LengthFound& length : selection.lengths) {
    bytes.take(length.terms);
    bytes.take(length.train);
    bytes.take(length.val);
    bytes.take(length.bound);
    bytes.take(length.certified);
    bytes.take(length.by_swap);
  }
}

}  // namespace

std::vector<Explanation> explain_shared(const Cluster& cluster, Regression& regression,
                                        const HeldOut& validation,
                                        const std::vector<std::string>& concept_names,
                                        std::int64_t begin, std::int64_t end,
                                        const LinearOptions& options, int threads,
                                        std::vector<Selection>& found) {
  if (regression.lazy)
    return explain(regression, validation, concept_names, begin, end, options, threads, &found);
  const Share share = share_of(end - begin, 1, &cluster);
  std::vector<Selection> selections;
  std::vector<Explanation> explanations;
  if (share.size() > 0)
    explanations = explain(regression, validation, concept_names, begin + share.begin,
                           begin + share.end, options, threads, &selections);
  ByteWriter mine;
  put(mine, explanations);
  for (const Selection& selection : selections) put(mine, selection);
  explanations.clear();
  for (const std::string& bytes : cluster.gather(mine.bytes())) {
    ByteReader reader(bytes);
    std::vector<Explanation> part;
    take(reader, part);
    explanations.insert(explanations.end(), part.begin(), part.end());
    while (!reader.at_end()) take(reader, found.emplace_back());
  }
  return explanations;
}

}  // namespace linex
