#include <gtest/gtest.h>

#include "linex/plugin.hpp"

namespace {

namespace option = linex::option;

TEST(Option, FlawsAreFound) {
  EXPECT_EQ(option::flaw(option::real("x", 1, 0, 2, "help")), nullptr);
  EXPECT_STREQ(option::flaw(option::real("x", 3, 0, 2, "help")),
               "an option's default is outside its range");
  EXPECT_STREQ(option::flaw(option::real("X", 1, 0, 2, "help")),
               "an option's name is not lower_snake");
  EXPECT_STREQ(option::flaw(option::choice("x", "d", "a|b|c", "help")),
               "an option's default is not among its choices");
  EXPECT_EQ(option::flaw(option::choice("x", "c", "a|b|c", "help")), nullptr);
  EXPECT_EQ(option::flaw(option::required(option::integer("x", 9, 0, 2, "help"))), nullptr);
  constexpr std::array doubled{option::flag("x", true, "help"), option::text("x", "", "help")};
  EXPECT_STREQ(option::flaw(doubled.data(), doubled.size()), "two options have the same name");
}

}  // namespace
