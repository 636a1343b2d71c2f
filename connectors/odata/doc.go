// Package odata is the driver for OData 4.0 and 4.01 services. Business
// Central, Dataverse and Microsoft Graph are presets of its options.
//
// It finds changes by delta links where a service has them, else by a field
// that grows with every change (a watermark), else by full reads. What a
// service really does is asked, not believed: probes test delta links, the
// order of keys and the filter on the version field before they are relied on.
//
// It writes each change in as few requests as the service allows: alone, or many
// in a batch. A request that may have been executed is never sent a second time
// unless that is harmless; then the outcome is unknown, and the caller looks.
// Writing that needs no key of the caller is by POST, all else by PATCH and
// DELETE, with If-Match; PUT would reset what is not sent (Protocol 4.0, 11.4.3).
package odata
