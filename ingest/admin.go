package ingest

import "github.com/gorilla/mux"

// AdminRoutes adds the operators' routes below /api/v1.
func (s *Service) AdminRoutes(r *mux.Router) {}
