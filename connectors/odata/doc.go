// Package odata is the driver for OData 4.0 and 4.01 services. Business
// Central, Dataverse and Microsoft Graph are presets of its options.
//
// It finds changes by delta links where a service has them, else by a field
// that grows with every change (a watermark), else by full reads. What a
// service really does is asked, not believed: probes test delta links, the
// order of keys and the filter on the version field before they are relied on.
//
// The driver reads. It sends GET requests only.
package odata
