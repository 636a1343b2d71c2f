// Package odatatest is an OData 4.0 and 4.01 service that lives in memory: the
// other side of kedge's tests, of "kedge demo" and of the benchmarks.
//
// It keeps to the OASIS documents (OData Protocol, URL Conventions, JSON
// Format, CSDL) where real services often do not; what they do instead is
// there too, by name: a quirk is an oddity of a whole service, see [Quirks],
// and a fault is a failure that comes now and then, see [ParseFault]. It knows
// nothing of kedge's own OData connector, so that both cannot share a mistake.
//
// What is read: $metadata as XML and JSON, the service document, collections
// with $select, $filter, $orderby, $top, $skip, $count, $expand, pages and
// delta links, and single entities. What is written: entities, by POST, PATCH,
// PUT and DELETE, by key or alternate key, with entity tags, upsert, links by
// @odata.bind and Repeatable Requests, alone or in a $batch of either format,
// whose groups are taken back if a part fails. [Service.Writes] tells what came.
//
// Tests change rows behind the clients' backs with [Service.Put],
// [Service.Patch] and [Service.Delete], or from another process through
// /_test/, which answers on loopback only.
package odatatest
