// Plugin objects behind a guard: every virtual call goes through guard(), so no caller has to.
#pragma once

#include <memory>
#include <string>

#include "linex/evaluator.hpp"
#include "linex/labeler.hpp"
#include "linex/model.hpp"
#include "linex/solver.hpp"

namespace linex {

/// The same object with every call guarded, what it hands out (presence, pixel labels, model tails)
/// too. `plugin` is its key. The test
/// guarded_overrides refuses a virtual of an interface that is not forwarded here.
std::shared_ptr<TargetModel> guarded(std::shared_ptr<TargetModel> inner, const std::string& plugin);
std::shared_ptr<ConceptLabeler> guarded(std::shared_ptr<ConceptLabeler> inner,
                                        const std::string& plugin);
std::shared_ptr<SparseSolver> guarded(std::shared_ptr<SparseSolver> inner,
                                      const std::string& plugin);
std::shared_ptr<Evaluator> guarded(std::shared_ptr<Evaluator> inner, const std::string& plugin);

}  // namespace linex
