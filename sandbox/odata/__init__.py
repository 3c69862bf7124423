"""An OData service to practise on."""
