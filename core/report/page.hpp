// The page's sources, report/page/*, compiled in.
#pragma once

namespace linex {

/// Marks @@CSS@@, @@THEME@@, @@DATA@@, @@JS@@, @@CARDS@@ in this order.
extern const char* const kReportHtml;
extern const char* const kReportCss;
extern const char* const kReportJs;
extern const char* const kValuesJs;   ///< comes before kReportJs
extern const char* const kThemeHtml;  ///< the button that switches between light and dark
extern const char* const kThemeJs;    ///< what it does

}  // namespace linex
