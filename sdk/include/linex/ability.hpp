// Optional abilities: what an object can do beside its interface, asked for by name. A later
// version of linex may know more of them; neither hosts nor plugins built before it notice.
//
//   struct MyAbility {                                            // plain interface of const
//   methods
//     static constexpr char kAbility[] = "my_plugin.my_ability/1";  // another form: another number
//     ...
//   };
//   const void* ability(const char* name) const override {        // who has it: derives from it
//   and
//     return linex::offer<MyAbility>(name, this);
//   }
//   if (const auto* mine = linex::ability<MyAbility>(labeler)) ...  // who wants it
#pragma once

#include <cstring>

namespace linex {

/// `self` as the ability T where `name` asks for it, else null. For overrides of ability().
template <class T>
const void* offer(const char* name, const T* self) noexcept {
  return std::strcmp(name, T::kAbility) == 0 ? self : nullptr;
}

/// The ability T of `object`, valid as long as the object, or null where it has none.
template <class T, class Object>
const T* ability(const Object& object) {
  return static_cast<const T*>(object.ability(T::kAbility));
}

}  // namespace linex
