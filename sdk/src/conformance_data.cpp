#include "conformance_world.hpp"
#include "linex/conformance.hpp"

namespace linex::conformance {

CheckData check_data() {
  CheckData data;
  data.images = images();
  data.split = split_rows(data.images->size());
  data.concepts = concept_names();
  data.presence = concept_matrix();
  data.activations = planted_activations(data.presence);
  return data;
}

}  // namespace linex::conformance
